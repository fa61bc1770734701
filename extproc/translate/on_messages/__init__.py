"""What any client answered by a Messages provider needs: parts of requests (mapping 4), reading answers (4.6, 4.7)."""

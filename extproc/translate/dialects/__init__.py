"""One package a dialect: how it reads and writes requests and answers."""

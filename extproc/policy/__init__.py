"""Decides who may call what. A step is an object with one async method that returns a rejection or nothing."""

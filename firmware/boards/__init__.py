"""Boards the lock core runs on: files as flash, and a complete port for a microcontroller."""

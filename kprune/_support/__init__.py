"""Supports all other modules: files, tables, progress bars, registration, threads, memory."""

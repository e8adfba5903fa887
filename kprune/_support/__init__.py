"""Serves every other room: files, tables, progress bars, names of members, threads, memory."""

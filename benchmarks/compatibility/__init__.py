"""Programs that try what works with what, and print the tables of docs/compatibility.md."""

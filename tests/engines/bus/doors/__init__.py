"""The bus's doors: HTTP, commands, pages."""

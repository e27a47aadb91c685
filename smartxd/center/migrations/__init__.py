"""The history of the database of boxes, as `makemigrations` writes it."""

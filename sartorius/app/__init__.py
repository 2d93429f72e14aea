"""The web page: drop images, see the cells outlined, read their numbers, take them away as files."""

"""The page: what a browser loads, all of it from here."""

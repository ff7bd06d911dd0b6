"""The dispatcher: claims jobs for one unit, calls the unit, and sends its answers back."""

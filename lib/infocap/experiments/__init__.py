"""What the book measures: for each part its tables, the figures that draw them and the claims that they decide."""

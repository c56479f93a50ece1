"""The geometry of the drawings; the templates draw them as SVG."""

"""Protocol gateway and digital twin for electric distribution grids."""

__version__ = "0.1.0"

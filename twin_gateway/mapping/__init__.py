"""Mapping files: read with positions, expand templates, check everything, bind to drivers."""

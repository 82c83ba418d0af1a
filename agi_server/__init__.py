"""Ostiary: the doorkeeper of a company's telephone system."""

__version__ = "0.1.0"

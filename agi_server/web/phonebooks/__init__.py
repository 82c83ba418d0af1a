"""Directories for IP phones, each as its maker wants it."""

"""How one fairseq sample becomes M views, and how each view differs from the others."""

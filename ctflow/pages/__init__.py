"""Self-contained HTML pages with interactive figures, for reports of any kind."""

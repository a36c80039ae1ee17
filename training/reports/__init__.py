"""What runs and evaluations came to: statistics over seeds, tables, figures and pages."""

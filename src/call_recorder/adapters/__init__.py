"""adapters: one module per service. They translate AWS's errors into the domain's, and contain no rule."""

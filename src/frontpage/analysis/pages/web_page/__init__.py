"""What the reports share: one style, tables that sort, and text that cannot become a part of the page."""

"""What the pages share: one layout, one palette, tables that sort, and text that cannot become a part of the page."""

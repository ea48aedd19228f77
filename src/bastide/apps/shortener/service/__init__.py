"""The shortener's verbs (Shortener), and what they stand on: Maker, Importer, Clicks."""

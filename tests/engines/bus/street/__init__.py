"""Two systems that tell each other: a kiosk that sells, and a ledger that hears of it."""

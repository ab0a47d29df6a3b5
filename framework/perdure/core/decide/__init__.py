"""state + input → what to append. Pure: the time, the events and the user's definitions come in as data."""

"""What a user looks at and steers beside a single run: `app.runs`, `app.functions`, `app.schedules`."""

"""What follows a decision: the alarm state, the siren, the journal, the reports to the centre."""

"""Pictures for people: sheets, reports, overlays."""

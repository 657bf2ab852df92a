"""Pictures to look at: contact sheets, reports, overlays."""

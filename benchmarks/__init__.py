"""Our figures and a peer's from one run each; results/ holds the last."""

"""A stand-in for Salesforce: an org over real HTTP, strict where Salesforce is."""

"""Who uses the dashboard: accounts, sign-ins, second factors, and what each role may."""

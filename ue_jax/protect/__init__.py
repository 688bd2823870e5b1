"""Pictures that are useless to an unauthorised trainer."""

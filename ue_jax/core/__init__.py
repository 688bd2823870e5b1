"""Pure contracts that every other room stands on."""

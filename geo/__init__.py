"""Where things are: postcodes, the National Grid, wards and the areas above them."""

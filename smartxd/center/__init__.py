"""The centre: a Django site that takes the captures and reports of all boxes, and shows them."""

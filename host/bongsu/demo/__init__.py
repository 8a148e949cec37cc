"""`bongsu demo`: a fire in a market, from the sensor to the fire station, on real parts."""

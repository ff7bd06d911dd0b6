"""`adasplit bench cost`: what a request and a token cost through AdaSplit and other routers."""

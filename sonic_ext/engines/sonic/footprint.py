CHANNELS=320; UNET_ELEMENTS=1575741162; VAE_ELEMENTS=97_700_000
def unet_activations(w,h,f,together,item): return round((3 if together else 1)*w*h*f*item*90)
def unet_operations(w,h,f): return 33e12*w*h/512/512
def vae_decode_activations(w,h,c,item): return w*h*c*item*600
def vae_decode_operations(w,h): return 3e12*w*h/512/512

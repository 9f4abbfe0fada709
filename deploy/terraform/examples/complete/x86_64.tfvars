# Intel: the defaults, written out. For an image of `blindgate image build`.
architecture  = "x86_64"
instance_type = "c6i.xlarge"

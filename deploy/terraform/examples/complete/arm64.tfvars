# Graviton: for an image of `blindgate image build --architecture arm64`. Not every Graviton type can
# run enclaves: AWS's list of requirements excludes T4g, for example. Terraform asks EC2 when it plans.
architecture  = "arm64"
instance_type = "c7g.xlarge"

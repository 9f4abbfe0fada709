# tests/deploy/test_terraform_modules.py runs this file with arm64.tfvars and the fleet of an image.

mock_provider "aws" {
  mock_data "aws_region" {
    defaults = { name = "us-east-1" }
  }

  mock_data "aws_caller_identity" {
    defaults = { account_id = "111122223333" }
  }

  mock_data "aws_subnet" {
    defaults = { cidr_block = "10.0.32.0/19" }
  }

  # A c7g.xlarge, as EC2 describes it.
  mock_data "aws_ec2_instance_type" {
    defaults = {
      default_vcpus            = 4
      default_threads_per_core = 1
      nitro_enclaves_support   = "supported"
      supported_architectures  = ["arm64"]
      memory_size              = 8192
    }
  }
}

variables {
  certificate_arn = "arn:aws:acm:us-east-1:111122223333:certificate/1"
  admins          = ["arn:aws:iam::111122223333:role/admin"]
  owners          = ["arn:aws:iam::111122223333:role/owner"]
  ami_id          = "ami-0123456789abcdef0"
}

run "the_example_runs_its_architecture" {
  command = plan

  assert {
    condition     = var.architecture == "arm64" && var.instance_type == "c7g.xlarge"
    error_message = "These are the facts of another instance type."
  }

  assert {
    condition     = join(",", keys(output.autoscaling_groups)) == "blue"
    error_message = "The fleet is not planned."
  }
}

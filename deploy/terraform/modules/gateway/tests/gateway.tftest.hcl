mock_provider "aws" {
  mock_data "aws_region" {
    defaults = { name = "us-east-1" }
  }

  mock_data "aws_subnet" {
    defaults = { cidr_block = "10.0.32.0/19" }
  }

  mock_data "aws_ec2_instance_type" {
    defaults = {
      default_vcpus            = 4
      default_threads_per_core = 2
      nitro_enclaves_support   = "supported"
      supported_architectures  = ["x86_64"]
      memory_size              = 8192
    }
  }
}

variables {
  vpc_id                     = "vpc-1"
  public_subnet_ids          = ["subnet-1", "subnet-2"]
  private_subnet_ids         = ["subnet-3", "subnet-4"]
  endpoint_security_group_id = "sg-1"
  s3_prefix_list_id          = "pl-1"
  certificate_arn            = "arn:aws:acm:us-east-1:111122223333:certificate/1"
  ami_id                     = "ami-0123456789abcdef0"
  artifact_bucket            = "artifacts"
  artifact_bucket_arn        = "arn:aws:s3:::artifacts"
  log_group                  = "/blindgate/blindgate/gateway"
  log_group_arn              = "arn:aws:logs:us-east-1:111122223333:log-group:/blindgate/blindgate/gateway"
  log_bucket                 = "logs"
  pcr_sets                   = { blue = "{\"PCR0\":\"11\"}" }
  fleets = {
    blue = {
      eif          = { key = "blindgate/1.eif", version_id = "v1", sha256 = "1111111111111111111111111111111111111111111111111111111111111111" }
      release      = { key = "release/1.gz", version_id = "v2", sha256 = "2222222222222222222222222222222222222222222222222222222222222222" }
      requirements = { architecture = "x86_64", memory_mib = 2048, cpus = 2 }
    }
  }
}

run "instances_hold_enclaves_and_guard_their_credentials" {
  command = plan

  assert {
    condition     = aws_launch_template.fleet["blue"].enclave_options[0].enabled
    error_message = "Enclaves are off."
  }

  assert {
    condition     = aws_launch_template.fleet["blue"].metadata_options[0].http_tokens == "required" && aws_launch_template.fleet["blue"].metadata_options[0].http_put_response_hop_limit == 1
    error_message = "IMDSv2 is not required, or its answers travel."
  }

  assert {
    condition     = aws_launch_template.fleet["blue"].key_name == null
    error_message = "There is a key pair for SSH."
  }

  assert {
    condition     = alltrue([for rule in aws_vpc_security_group_ingress_rule.clients : rule.from_port == 443 && rule.to_port == 443])
    error_message = "Clients may connect to another port than 443."
  }
}

run "two_slots_are_two_addresses" {
  command = plan

  variables {
    instance_type = "c6i.2xlarge"
    enclave_slots = 2
    enclave_cpus  = 2
  }

  override_data {
    target = data.aws_ec2_instance_type.this
    values = {
      default_vcpus            = 8
      default_threads_per_core = 2
      nitro_enclaves_support   = "supported"
      supported_architectures  = ["x86_64"]
      memory_size              = 8192
    }
  }

  assert {
    condition     = local.environment["blue"].BLINDGATE_ENCLAVES == "vsock://16:5005,vsock://17:5005"
    error_message = "The gateway does not look at both slots."
  }
}

run "only_the_load_balancer_names_callers" {
  command = plan

  assert {
    condition     = local.environment["blue"].BLINDGATE_TRUSTED_PROXIES == "10.0.32.0/19,10.0.32.0/19"
    error_message = "The gateway does not trust the subnets of the load balancer, or others too."
  }

  assert {
    condition     = aws_lb.this.xff_header_processing_mode == "append"
    error_message = "Clients choose what the load balancer says of them."
  }
}

run "no_fleet_before_the_first_image" {
  command = plan

  variables {
    fleets   = {}
    pcr_sets = {}
  }

  assert {
    condition     = length(aws_autoscaling_group.fleet) == 0
    error_message = "Something would run without an image."
  }
}

run "an_instance_type_without_enclaves_is_refused" {
  command = plan

  override_data {
    target = data.aws_ec2_instance_type.this
    values = {
      default_vcpus            = 4
      default_threads_per_core = 2
      nitro_enclaves_support   = "unsupported"
      supported_architectures  = ["x86_64"]
      memory_size              = 8192
    }
  }

  expect_failures = [aws_launch_template.fleet["blue"]]
}

run "the_parent_keeps_a_core" {
  command = plan

  variables {
    enclave_cpus = 4
  }

  expect_failures = [aws_launch_template.fleet["blue"]]
}

run "enclaves_get_whole_cores" {
  command = plan

  variables {
    enclave_cpus = 1
  }

  expect_failures = [aws_launch_template.fleet["blue"]]
}

run "an_unversioned_image_is_refused" {
  command = plan

  variables {
    fleets = {
      blue = {
        eif     = { key = "a", version_id = "null", sha256 = "1111111111111111111111111111111111111111111111111111111111111111" }
        release = { key = "b", version_id = "v", sha256 = "2222222222222222222222222222222222222222222222222222222222222222" }
      }
    }
  }

  expect_failures = [var.fleets]
}

run "a_key_that_would_end_a_shell_word_is_refused" {
  command = plan

  variables {
    fleets = {
      blue = {
        eif     = { key = "a'; id; '", version_id = "v", sha256 = "1111111111111111111111111111111111111111111111111111111111111111" }
        release = { key = "b", version_id = "v", sha256 = "2222222222222222222222222222222222222222222222222222222222222222" }
      }
    }
  }

  expect_failures = [var.fleets]
}

run "a_fleet_without_measurements_is_refused" {
  command = plan

  variables {
    pcr_sets = {}
  }

  expect_failures = [var.pcr_sets]
}

run "a_fleet_trusts_its_own_image_only" {
  command = plan

  variables {
    pcr_sets = { blue = "{\"PCR0\":\"11\"}", green = "{\"PCR0\":\"22\"}" }
  }

  assert {
    condition     = local.environment["blue"].BLINDGATE_PCRS == "/etc/blindgate/pcrs/blue.json"
    error_message = "A new image would replace instances of the old one."
  }
}

run "a_change_of_a_fleet_replaces_its_instances_one_after_the_other" {
  command = plan

  assert {
    condition     = aws_autoscaling_group.fleet["blue"].instance_refresh[0].preferences[0].min_healthy_percentage == 100
    error_message = "An instance would go before its successor answers."
  }
}

run "load_sets_the_number_of_instances" {
  command = plan

  assert {
    condition     = aws_autoscaling_group.fleet["blue"].min_size == 2 && aws_autoscaling_group.fleet["blue"].max_size == 4
    error_message = "A fleet has not the instances that `min` and `max` say."
  }

  assert {
    condition     = aws_autoscaling_policy.fleet["blue"].target_tracking_configuration[0].target_value == 3000 && aws_autoscaling_policy.fleet["blue"].target_tracking_configuration[0].predefined_metric_specification[0].predefined_metric_type == "ALBRequestCountPerTarget"
    error_message = "Auto Scaling does not follow the requests."
  }
}

run "a_fleet_with_a_maximum_below_its_minimum_is_refused" {
  command = plan

  variables {
    fleets = {
      blue = {
        eif     = { key = "a", version_id = "v", sha256 = "1111111111111111111111111111111111111111111111111111111111111111" }
        release = { key = "b", version_id = "v", sha256 = "2222222222222222222222222222222222222222222222222222222222222222" }
        min     = 3
        max     = 2
      }
    }
  }

  expect_failures = [var.fleets]
}

run "the_number_of_instances_of_older_releases_is_refused" {
  command = plan

  variables {
    fleets = {
      blue = {
        eif       = { key = "a", version_id = "v", sha256 = "1111111111111111111111111111111111111111111111111111111111111111" }
        release   = { key = "b", version_id = "v", sha256 = "2222222222222222222222222222222222222222222222222222222222222222" }
        instances = 3
      }
    }
  }

  expect_failures = [var.fleets]
}

run "debug_mode_cannot_be_deployed" {
  command = plan

  variables {
    settings = { BLINDGATE_ALLOW_DEBUG = "true" }
  }

  expect_failures = [var.settings]
}

run "nobody_calls_without_a_key" {
  command = plan

  variables {
    settings = { BLINDGATE_ALLOW_ANONYMOUS = "true" }
  }

  expect_failures = [var.settings]
}

run "settings_stay_on_their_line" {
  command = plan

  variables {
    settings = { BLINDGATE_QUEUE = "1\nENVIRONMENT\nid" }
  }

  expect_failures = [var.settings]
}

run "an_image_for_another_architecture_is_refused" {
  command = plan

  variables {
    fleets = {
      blue = {
        eif          = { key = "a", version_id = "v", sha256 = "1111111111111111111111111111111111111111111111111111111111111111" }
        release      = { key = "b", version_id = "v", sha256 = "2222222222222222222222222222222222222222222222222222222222222222" }
        requirements = { architecture = "arm64", memory_mib = 2048, cpus = 2 }
      }
    }
  }

  expect_failures = [aws_launch_template.fleet["blue"]]
}

run "graviton_instances_start_from_an_arm64_system" {
  command = plan

  variables {
    instance_type = "c7g.xlarge"
    architecture  = "arm64"
    ami_id        = null
    fleets = {
      blue = {
        eif          = { key = "a", version_id = "v", sha256 = "1111111111111111111111111111111111111111111111111111111111111111" }
        release      = { key = "b", version_id = "v", sha256 = "2222222222222222222222222222222222222222222222222222222222222222" }
        requirements = { architecture = "arm64", memory_mib = 2048, cpus = 1 }
      }
    }
  }

  override_data {
    target = data.aws_ec2_instance_type.this
    values = {
      default_vcpus            = 4
      default_threads_per_core = 1
      nitro_enclaves_support   = "supported"
      supported_architectures  = ["arm64"]
      memory_size              = 8192
    }
  }

  assert {
    condition     = endswith(data.aws_ssm_parameter.ami[0].name, "-arm64")
    error_message = "The instances would start from a system for another architecture."
  }
}

run "an_image_that_needs_more_memory_than_the_instance_has_is_refused" {
  command = plan

  variables {
    fleets = {
      blue = {
        eif          = { key = "a", version_id = "v", sha256 = "1111111111111111111111111111111111111111111111111111111111111111" }
        release      = { key = "b", version_id = "v", sha256 = "2222222222222222222222222222222222222222222222222222222222222222" }
        requirements = { architecture = "x86_64", memory_mib = 7232, cpus = 2 }
      }
    }
  }

  expect_failures = [aws_launch_template.fleet["blue"]]
}

run "an_image_that_just_fits_is_accepted" {
  command = plan

  variables {
    fleets = {
      blue = {
        eif          = { key = "a", version_id = "v", sha256 = "1111111111111111111111111111111111111111111111111111111111111111" }
        release      = { key = "b", version_id = "v", sha256 = "2222222222222222222222222222222222222222222222222222222222222222" }
        requirements = { architecture = "x86_64", memory_mib = 7168, cpus = 2 }
      }
    }
  }

  assert {
    condition     = local.needs["blue"].memory_mib == 7168
    error_message = "The instance does not learn what the image needs."
  }
}

run "an_image_that_asks_kms_s_fips_endpoint_gets_a_proxy_that_leads_there" {
  command = plan

  variables {
    pcr_sets = { blue = "{\"PCR0\":\"11\"}", green = "{\"PCR0\":\"22\"}" }
    fleets = {
      blue = {
        eif          = { key = "a", version_id = "v", sha256 = "1111111111111111111111111111111111111111111111111111111111111111" }
        release      = { key = "b", version_id = "v", sha256 = "2222222222222222222222222222222222222222222222222222222222222222" }
        requirements = { architecture = "x86_64", memory_mib = 2048, cpus = 2, kms = { regions = ["us-east-1"], fips = true } }
      }
      green = {
        eif          = { key = "a", version_id = "v", sha256 = "1111111111111111111111111111111111111111111111111111111111111111" }
        release      = { key = "b", version_id = "v", sha256 = "2222222222222222222222222222222222222222222222222222222222222222" }
        requirements = { architecture = "x86_64", memory_mib = 2048, cpus = 2 }
      }
    }
  }

  assert {
    condition     = local.fips["blue"] && !local.fips["green"]
    error_message = "vsock-proxy would lead to another host than the enclave asks for."
  }
}

run "an_image_for_another_region_is_refused" {
  command = plan

  variables {
    fleets = {
      blue = {
        eif          = { key = "a", version_id = "v", sha256 = "1111111111111111111111111111111111111111111111111111111111111111" }
        release      = { key = "b", version_id = "v", sha256 = "2222222222222222222222222222222222222222222222222222222222222222" }
        requirements = { architecture = "x86_64", memory_mib = 2048, cpus = 2, kms = { regions = ["eu-west-1", "us-east-2"], fips = false } }
      }
    }
  }

  expect_failures = [aws_launch_template.fleet["blue"]]
}

run "an_image_for_several_regions_is_accepted_in_each" {
  command = plan

  variables {
    fleets = {
      blue = {
        eif          = { key = "a", version_id = "v", sha256 = "1111111111111111111111111111111111111111111111111111111111111111" }
        release      = { key = "b", version_id = "v", sha256 = "2222222222222222222222222222222222222222222222222222222222222222" }
        requirements = { architecture = "x86_64", memory_mib = 2048, cpus = 2, kms = { regions = ["eu-west-1", "us-east-1"], fips = false } }
      }
    }
  }

  assert {
    condition     = join(",", local.needs["blue"].kms.regions) == "eu-west-1,us-east-1"
    error_message = "The instance does not learn where its image asks KMS."
  }
}

run "regions_of_requirements_are_named" {
  command = plan

  variables {
    fleets = {
      blue = {
        eif          = { key = "a", version_id = "v", sha256 = "1111111111111111111111111111111111111111111111111111111111111111" }
        release      = { key = "b", version_id = "v", sha256 = "2222222222222222222222222222222222222222222222222222222222222222" }
        requirements = { architecture = "x86_64", memory_mib = 2048, cpus = 2, kms = { regions = ["us-east-1", "Virginia"], fips = false } }
      }
    }
  }

  expect_failures = [var.fleets]
}

run "an_image_that_asks_no_region_is_none" {
  command = plan

  variables {
    fleets = {
      blue = {
        eif          = { key = "a", version_id = "v", sha256 = "1111111111111111111111111111111111111111111111111111111111111111" }
        release      = { key = "b", version_id = "v", sha256 = "2222222222222222222222222222222222222222222222222222222222222222" }
        requirements = { architecture = "x86_64", memory_mib = 2048, cpus = 2, kms = { regions = [], fips = false } }
      }
    }
  }

  expect_failures = [var.fleets]
}

run "memory_for_both_slots_is_counted" {
  command = plan

  variables {
    enclave_slots = 2
    fleets = {
      blue = {
        eif          = { key = "a", version_id = "v", sha256 = "1111111111111111111111111111111111111111111111111111111111111111" }
        release      = { key = "b", version_id = "v", sha256 = "2222222222222222222222222222222222222222222222222222222222222222" }
        requirements = { architecture = "x86_64", memory_mib = 4096, cpus = 2 }
      }
    }
  }

  override_data {
    target = data.aws_ec2_instance_type.this
    values = {
      default_vcpus            = 8
      default_threads_per_core = 2
      nitro_enclaves_support   = "supported"
      supported_architectures  = ["x86_64"]
      memory_size              = 8192
    }
  }

  expect_failures = [aws_launch_template.fleet["blue"]]
}

run "an_image_that_needs_more_cpus_than_its_slot_is_refused" {
  command = plan

  variables {
    instance_type = "c6i.2xlarge"
    fleets = {
      blue = {
        eif          = { key = "a", version_id = "v", sha256 = "1111111111111111111111111111111111111111111111111111111111111111" }
        release      = { key = "b", version_id = "v", sha256 = "2222222222222222222222222222222222222222222222222222222222222222" }
        requirements = { architecture = "x86_64", memory_mib = 2048, cpus = 4 }
      }
    }
  }

  override_data {
    target = data.aws_ec2_instance_type.this
    values = {
      default_vcpus            = 8
      default_threads_per_core = 2
      nitro_enclaves_support   = "supported"
      supported_architectures  = ["x86_64"]
      memory_size              = 16384
    }
  }

  expect_failures = [aws_launch_template.fleet["blue"]]
}

run "requirements_are_whole_numbers" {
  command = plan

  variables {
    fleets = {
      blue = {
        eif          = { key = "a", version_id = "v", sha256 = "1111111111111111111111111111111111111111111111111111111111111111" }
        release      = { key = "b", version_id = "v", sha256 = "2222222222222222222222222222222222222222222222222222222222222222" }
        requirements = { architecture = "x86_64", memory_mib = 2048.5, cpus = 2 }
      }
    }
  }

  expect_failures = [var.fleets]
}

run "an_image_of_another_builder_is_not_checked" {
  command = plan

  variables {
    fleets = {
      blue = {
        eif     = { key = "a", version_id = "v", sha256 = "1111111111111111111111111111111111111111111111111111111111111111" }
        release = { key = "b", version_id = "v", sha256 = "2222222222222222222222222222222222222222222222222222222222222222" }
      }
    }
  }

  assert {
    condition     = length(local.needs) == 0
    error_message = "The instance is given requirements that nobody stated."
  }
}

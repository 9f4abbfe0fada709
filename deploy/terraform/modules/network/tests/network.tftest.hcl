mock_provider "aws" {
  mock_data "aws_region" {
    defaults = { name = "us-east-1" }
  }

  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }

  mock_data "aws_caller_identity" {
    defaults = { account_id = "111122223333" }
  }
}

variables {
  availability_zones  = ["us-east-1a", "us-east-1b"]
  artifact_bucket_arn = "arn:aws:s3:::artifacts"
}

run "subnets_do_not_overlap_and_give_no_public_addresses" {
  command = plan

  assert {
    condition     = length(distinct(concat([for s in aws_subnet.public : s.cidr_block], [for s in aws_subnet.private : s.cidr_block]))) == 4
    error_message = "Two subnets share a range."
  }

  assert {
    condition     = !anytrue(concat([for s in aws_subnet.public : s.map_public_ip_on_launch], [for s in aws_subnet.private : s.map_public_ip_on_launch]))
    error_message = "A subnet gives out public addresses."
  }
}

run "kms_is_reached_inside_the_vpc_under_its_own_name_for_decrypt_only" {
  command = plan

  assert {
    condition     = aws_vpc_endpoint.service["kms"].private_dns_enabled
    error_message = "The enclave's TLS to KMS would leave the VPC."
  }

  assert {
    condition     = flatten([for statement in jsondecode(aws_vpc_endpoint_policy.service["kms"].policy).Statement : statement.Action]) == ["kms:Decrypt"]
    error_message = "The endpoint lets more than Decrypt through."
  }
}

run "the_fips_name_of_kms_has_an_endpoint_of_its_own_for_decrypt_only" {
  command = plan

  variables {
    kms_fips = true
  }

  assert {
    condition     = aws_vpc_endpoint.service["kms-fips"].service_name == "com.amazonaws.us-east-1.kms-fips" && aws_vpc_endpoint.service["kms-fips"].private_dns_enabled
    error_message = "The enclave's TLS to KMS's FIPS endpoint would leave the VPC."
  }

  assert {
    condition     = flatten([for statement in jsondecode(aws_vpc_endpoint_policy.service["kms-fips"].policy).Statement : statement.Action]) == ["kms:Decrypt"]
    error_message = "The endpoint lets more than Decrypt through."
  }

  assert {
    condition     = contains(keys(aws_vpc_endpoint.service), "kms")
    error_message = "A fleet whose image does not ask for FIPS loses its way to KMS."
  }
}

run "no_endpoint_serves_another_account_s_credentials" {
  command = plan

  variables {
    resource_accounts = ["444455556666"]
  }

  assert {
    condition     = keys(aws_vpc_endpoint_policy.service) == keys(aws_vpc_endpoint.service) && length(aws_vpc_endpoint.service) == 6
    error_message = "An endpoint has no policy."
  }

  assert {
    condition = alltrue([
      for statement in concat(
        flatten([for each in aws_vpc_endpoint_policy.service : jsondecode(each.policy).Statement]),
        [for each in jsondecode(aws_vpc_endpoint.s3.policy).Statement : each if each.Sid != "AmazonLinuxPackages"],
      ) :
      statement.Effect == "Allow"
      && statement.Condition.StringEquals["aws:PrincipalAccount"] == "111122223333"
      && join(",", statement.Condition.StringEqualsIfExists["aws:ResourceAccount"]) == "111122223333,444455556666"
    ])
    error_message = "An endpoint serves credentials or resources of other accounts."
  }
}

run "an_account_that_is_none_is_refused" {
  command = plan

  variables {
    resource_accounts = ["me"]
  }

  expect_failures = [var.resource_accounts]
}

run "only_two_buckets_can_be_read_and_none_written" {
  command = plan

  assert {
    condition = alltrue(flatten([
      for statement in jsondecode(aws_vpc_endpoint.s3.policy).Statement : [
        for action in flatten([statement.Action]) : startswith(action, "s3:GetObject")
      ]
    ]))
    error_message = "Instances could write to S3."
  }

  assert {
    condition     = [for statement in jsondecode(aws_vpc_endpoint.s3.policy).Statement : statement.Resource] == ["arn:aws:s3:::artifacts/*", "arn:aws:s3:::al2023-repos-us-east-1-de612dc2/*"]
    error_message = "Instances could read other buckets."
  }
}

run "one_zone_is_too_few" {
  command = plan

  variables {
    availability_zones = ["us-east-1a"]
  }

  expect_failures = [var.availability_zones]
}

run "a_range_that_is_none_is_refused" {
  command = plan

  variables {
    cidr = "10.0.0.0"
  }

  expect_failures = [var.cidr]
}

run "logs_are_kept_for_a_time_that_exists" {
  command = plan

  variables {
    flow_log_days = 100
  }

  expect_failures = [var.flow_log_days]
}

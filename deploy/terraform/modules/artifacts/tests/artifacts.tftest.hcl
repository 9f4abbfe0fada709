mock_provider "aws" {}

variables {
  bucket_name = "blindgate-artifacts-111122223333-us-east-1"
  log_bucket  = "logs"
}

run "every_version_is_kept_and_nothing_is_public" {
  command = plan

  assert {
    condition     = aws_s3_bucket_versioning.this.versioning_configuration[0].status == "Enabled"
    error_message = "An image could be replaced."
  }

  assert {
    condition = alltrue([
      aws_s3_bucket_public_access_block.this.block_public_acls,
      aws_s3_bucket_public_access_block.this.block_public_policy,
      aws_s3_bucket_public_access_block.this.ignore_public_acls,
      aws_s3_bucket_public_access_block.this.restrict_public_buckets,
    ])
    error_message = "The bucket could be made public."
  }
}

run "a_name_that_s3_refuses_is_refused_here" {
  command = plan

  variables {
    bucket_name = "Blindgate_Artifacts"
  }

  expect_failures = [var.bucket_name]
}

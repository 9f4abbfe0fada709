# Everything that Blindgate needs in one account and Region. docs/deploy.md walks through it.

provider "aws" {
  region = var.region

  default_tags {
    tags = { application = var.name }
  }
}

data "aws_caller_identity" "current" {}

locals {
  account  = data.aws_caller_identity.current.account_id
  pcr_sets = { for name, path in var.pcr_files : name => file(path) }
}

module "artifacts" {
  source = "../../modules/artifacts"

  bucket_name   = "${var.name}-artifacts-${local.account}-${var.region}"
  log_bucket    = module.observability.log_bucket
  force_destroy = var.trial
}

module "network" {
  source = "../../modules/network"

  name                = var.name
  availability_zones  = var.availability_zones
  artifact_bucket_arn = module.artifacts.arn
  kms_fips            = anytrue([for fleet in values(var.fleets) : try(fleet.requirements.kms.fips, false)])
}

module "gateway" {
  source = "../../modules/gateway"

  name                       = var.name
  vpc_id                     = module.network.vpc_id
  public_subnet_ids          = module.network.public_subnet_ids
  private_subnet_ids         = module.network.private_subnet_ids
  endpoint_security_group_id = module.network.endpoint_security_group_id
  s3_prefix_list_id          = module.network.s3_prefix_list_id
  certificate_arn            = var.certificate_arn
  client_cidrs               = var.client_cidrs
  instance_type              = var.instance_type
  architecture               = var.architecture
  requests_per_instance      = var.requests_per_instance
  ami_id                     = var.ami_id
  fleets                     = var.fleets
  pcr_sets                   = local.pcr_sets
  artifact_bucket            = module.artifacts.bucket
  artifact_bucket_arn        = module.artifacts.arn
  log_group                  = module.observability.log_group
  log_group_arn              = module.observability.log_group_arn
  log_bucket                 = module.observability.log_bucket
  deletion_protection        = !var.trial
}

module "kms" {
  source = "../../modules/kms"

  alias              = var.name
  pcr_sets           = local.pcr_sets
  roles              = [module.gateway.role_arn]
  admins             = var.admins
  owners             = var.owners
  encryption_context = var.encryption_context
}

module "observability" {
  source = "../../modules/observability"

  name                     = var.name
  log_bucket_name          = "${var.name}-logs-${local.account}-${var.region}"
  load_balancer_arn_suffix = module.gateway.load_balancer_arn_suffix
  target_group_arn_suffix  = module.gateway.target_group_arn_suffix
  key_arn                  = module.kms.key_arn
  alarm_topic_arns         = var.alarm_topic_arns
  force_destroy            = var.trial
}

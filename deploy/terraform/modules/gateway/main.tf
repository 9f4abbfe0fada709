# Parent instances: a gateway and its enclaves on each, behind a load balancer.

data "aws_region" "current" {}

data "aws_ec2_instance_type" "this" {
  instance_type = var.instance_type
}

data "aws_ssm_parameter" "ami" {
  count = var.ami_id == null ? 1 : 0
  name  = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-${var.architecture}"
}

# Where the load balancer connects from.
data "aws_subnet" "load_balancer" {
  count = length(var.public_subnet_ids)
  id    = var.public_subnet_ids[count.index]
}

locals {
  region = data.aws_region.current.name
  ami_id = var.ami_id == null ? nonsensitive(data.aws_ssm_parameter.ami[0].value) : var.ami_id

  # The slots and CIDs of deploy/systemd/allocator.py.
  slots = slice(["blue", "green"], 0, var.enclave_slots)
  cids  = { blue = 16, green = 17 }

  # What each fleet's gateways trust: its own image. So another fleet's image leaves it untouched.
  trusted = {
    for name, fleet in var.fleets : name => {
      for set in coalesce(fleet.measurements, [name]) : set => var.pcr_sets[set]
    }
  }

  environment = {
    for name, sets in local.trusted : name => merge(
      {
        AWS_DEFAULT_REGION        = local.region
        BLINDGATE_HOST            = "0.0.0.0"
        BLINDGATE_PORT            = "8080"
        BLINDGATE_ENCLAVES        = join(",", [for slot in local.slots : "vsock://${local.cids[slot]}:5005"])
        BLINDGATE_PCRS            = join(",", [for set in keys(sets) : "/etc/blindgate/pcrs/${set}.json"])
        BLINDGATE_API_KEYS_SECRET = aws_secretsmanager_secret.api_keys.arn
        BLINDGATE_AUDIT_LOG       = "/var/lib/blindgate-gateway/audit.log"
        # Ten detections a second for each caller, a tenth of what an instance answers.
        BLINDGATE_RATE_LIMIT = "600/minute"
        # Its X-Forwarded-For names the caller, for rate limits and the audit log.
        BLINDGATE_TRUSTED_PROXIES = join(",", data.aws_subnet.load_balancer[*].cidr_block)
      },
      var.settings,
    )
  }

  parent_cpus = data.aws_ec2_instance_type.this.default_threads_per_core
  # Seconds from the launch of an instance until its enclave answers, at most.
  start_seconds = 420
  # What the operating system, its agents and the gateway take: 700 MiB seen, and room for uploads.
  parent_memory = 1024
  needs         = { for name, fleet in var.fleets : name => fleet.requirements if fleet.requirements != null }
  fips          = { for name, fleet in var.fleets : name => try(fleet.requirements.kms.fips, false) }
}

resource "aws_launch_template" "fleet" {
  for_each = var.fleets

  name_prefix            = "${var.name}-${each.key}-"
  image_id               = local.ami_id
  instance_type          = var.instance_type
  update_default_version = true
  tags                   = var.tags

  iam_instance_profile {
    arn = aws_iam_instance_profile.instance.arn
  }

  enclave_options {
    enabled = true
  }

  # IMDSv2 only, and answers do not travel further than the instance itself.
  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
    instance_metadata_tags      = "disabled"
  }

  network_interfaces {
    associate_public_ip_address = false
    security_groups             = [aws_security_group.instance.id]
    delete_on_termination       = true
  }

  block_device_mappings {
    device_name = "/dev/xvda"

    ebs {
      volume_size           = 16
      volume_type           = "gp3"
      encrypted             = true
      delete_on_termination = true
    }
  }

  monitoring {
    enabled = true
  }

  # No key pair: people come through Systems Manager.
  user_data = base64encode(templatefile("${path.module}/user_data.sh.tftpl", {
    region      = local.region
    bucket      = var.artifact_bucket
    eif         = each.value.eif
    release     = each.value.release
    slots       = var.enclave_slots
    cpus        = var.enclave_cpus
    environment = local.environment[each.key]
    pcr_sets    = local.trusted[each.key]
    log_group   = var.log_group
    fleet       = each.key
    needs       = try(jsonencode(local.needs[each.key]), null)
    fips        = local.fips[each.key]
  }))

  dynamic "tag_specifications" {
    for_each = toset(["instance", "volume"])

    content {
      resource_type = tag_specifications.value
      tags          = merge(var.tags, { Name = "${var.name}-${each.key}" })
    }
  }

  lifecycle {
    create_before_destroy = true

    precondition {
      condition     = data.aws_ec2_instance_type.this.nitro_enclaves_support == "supported"
      error_message = "${var.instance_type} has no Nitro Enclaves."
    }

    precondition {
      condition     = contains(data.aws_ec2_instance_type.this.supported_architectures, var.architecture)
      error_message = "${var.instance_type} does not run ${var.architecture}."
    }

    precondition {
      condition     = var.enclave_slots * var.enclave_cpus + local.parent_cpus <= data.aws_ec2_instance_type.this.default_vcpus
      error_message = "${var.instance_type} has ${data.aws_ec2_instance_type.this.default_vcpus} vCPUs: too few for ${var.enclave_slots} enclave(s) of ${var.enclave_cpus} beside one core for the parent."
    }

    precondition {
      condition     = try(local.needs[each.key].architecture, var.architecture) == var.architecture
      error_message = "The image of fleet ${each.key} is for ${try(local.needs[each.key].architecture, "")}, and architecture is ${var.architecture}: set architecture and an instance_type of it, or build the image with `--architecture ${var.architecture}`."
    }

    precondition {
      condition     = contains(try(local.needs[each.key].kms.regions, [local.region]), local.region)
      error_message = "The image of fleet ${each.key} asks KMS in ${try(join(", ", local.needs[each.key].kms.regions), "")}, and this is ${local.region}: add a KMS key of ${local.region} to key_arns of its configuration and build it again, or deploy it there."
    }

    precondition {
      condition     = try(local.needs[each.key].cpus, 1) <= var.enclave_cpus
      error_message = "The image of fleet ${each.key} needs ${try(local.needs[each.key].cpus, 1)} vCPUs: set enclave_cpus to that, on an instance_type that has them beside one core for the parent."
    }

    precondition {
      condition     = var.enclave_slots * try(local.needs[each.key].memory_mib, 0) + local.parent_memory <= data.aws_ec2_instance_type.this.memory_size
      error_message = "${var.instance_type} has ${data.aws_ec2_instance_type.this.memory_size} MiB: too little for ${var.enclave_slots} enclave(s) of ${try(local.needs[each.key].memory_mib, 0)} MiB beside ${local.parent_memory} MiB for the parent. Take a larger instance_type, or lower [limits] of the image's configuration."
    }

    precondition {
      condition     = var.enclave_cpus % data.aws_ec2_instance_type.this.default_threads_per_core == 0
      error_message = "An enclave gets whole cores: on ${var.instance_type} enclave_cpus must be a multiple of ${data.aws_ec2_instance_type.this.default_threads_per_core}."
    }
  }
}

resource "aws_autoscaling_group" "fleet" {
  for_each = var.fleets

  name_prefix               = "${var.name}-${each.key}-"
  min_size                  = each.value.min
  max_size                  = coalesce(each.value.max, 2 * each.value.min)
  vpc_zone_identifier       = var.private_subnet_ids
  target_group_arns         = [aws_lb_target_group.gateway.arn]
  health_check_type         = "ELB"
  health_check_grace_period = local.start_seconds
  # An upgrade is not finished while nothing green answers.
  wait_for_elb_capacity     = each.value.min
  wait_for_capacity_timeout = "20m"

  launch_template {
    id      = aws_launch_template.fleet[each.key].id
    version = aws_launch_template.fleet[each.key].latest_version
  }

  instance_refresh {
    strategy = "Rolling"

    preferences {
      min_healthy_percentage = 100
      max_healthy_percentage = 150
    }
  }

  dynamic "tag" {
    for_each = merge(var.tags, { Name = "${var.name}-${each.key}" })

    content {
      key                 = tag.key
      value               = tag.value
      propagate_at_launch = true
    }
  }

  lifecycle {
    create_before_destroy = true
    # The policy below sets it; an apply must not undo that.
    ignore_changes = [desired_capacity]
  }
}

# Requests for each target, as the load balancer counts them. Not the instances' CPU: the CPUs of an
# enclave are offline for the parent instance, so EC2's figure stays low while the enclave is busy. Not
# the gateway's own queue: it would have to be published to CloudWatch first, and it is empty until an
# instance is overloaded, which is minutes too late.
resource "aws_autoscaling_policy" "fleet" {
  for_each = var.fleets

  name                      = "${aws_autoscaling_group.fleet[each.key].name}-requests"
  autoscaling_group_name    = aws_autoscaling_group.fleet[each.key].name
  policy_type               = "TargetTrackingScaling"
  estimated_instance_warmup = local.start_seconds

  target_tracking_configuration {
    target_value = var.requests_per_instance

    predefined_metric_specification {
      predefined_metric_type = "ALBRequestCountPerTarget"
      resource_label         = "${aws_lb.this.arn_suffix}/${aws_lb_target_group.gateway.arn_suffix}"
    }
  }

  # The load balancer has the target group only once the listener forwards to it.
  depends_on = [aws_lb_listener.https]
}

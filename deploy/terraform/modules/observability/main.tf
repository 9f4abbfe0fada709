# Logs without content, and alarms for what a person must know: nothing answers, answers fail or are
# slow, KMS refuses, or somebody changed who may open the images.

resource "aws_cloudwatch_log_group" "gateway" {
  #checkov:skip=CKV_AWS_158:var.log_kms_key_arn takes a key; without one CloudWatch Logs encrypts by itself. The logs hold times, sizes and problem names, never content.
  name              = "/blindgate/${var.name}/gateway"
  retention_in_days = var.log_days
  kms_key_id        = var.log_kms_key_arn
  tags              = var.tags
}

locals {
  balancer = { LoadBalancer = var.load_balancer_arn_suffix }
  target   = merge(local.balancer, { TargetGroup = var.target_group_arn_suffix })

  # Alarms on metrics of the load balancer.
  alarms = {
    nobody-answers = {
      description = "No instance has an enclave that takes requests."
      metric      = "HealthyHostCount"
      statistic   = "Minimum"
      comparison  = "LessThanThreshold"
      threshold   = 1
      periods     = 2
      missing     = "breaching"
      dimensions  = local.target
    }
    instances-fail = {
      description = "Instances fail their health check: their enclaves do not start, or are not the measured ones."
      metric      = "UnHealthyHostCount"
      statistic   = "Maximum"
      comparison  = "GreaterThanThreshold"
      threshold   = 0
      periods     = 10
      missing     = "notBreaching"
      dimensions  = local.target
    }
    answers-fail = {
      description = "Gateways answer with 5xx."
      metric      = "HTTPCode_Target_5XX_Count"
      statistic   = "Sum"
      comparison  = "GreaterThanThreshold"
      threshold   = 10
      periods     = 3
      missing     = "notBreaching"
      dimensions  = local.target
    }
    balancer-fails = {
      description = "The load balancer itself answers with 5xx: it reaches no gateway, or they take too long."
      metric      = "HTTPCode_ELB_5XX_Count"
      statistic   = "Sum"
      comparison  = "GreaterThanThreshold"
      threshold   = 10
      periods     = 3
      missing     = "notBreaching"
      dimensions  = local.balancer
    }
    answers-slow = {
      description = "The slowest hundredth of answers takes too long."
      metric      = "TargetResponseTime"
      statistic   = "p99"
      comparison  = "GreaterThanThreshold"
      threshold   = var.slow_seconds
      periods     = 5
      missing     = "notBreaching"
      dimensions  = local.target
    }
  }

  # Counted in the gateways' JSON logs by the name of the problem (docs/errors.md).
  problems = {
    kms-refused     = { threshold = 0, description = "KMS refused an enclave: its policy and the running image do not fit, or the key is not the one." }
    kms-unavailable = { threshold = 5, description = "Enclaves do not reach KMS." }
    overloaded      = { threshold = 50, description = "Requests are turned away: too few instances." }
    internal-error  = { threshold = 0, description = "A gateway or an enclave has a bug." }
  }
}

resource "aws_cloudwatch_metric_alarm" "balancer" {
  for_each = local.alarms

  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = each.value.description
  namespace           = "AWS/ApplicationELB"
  metric_name         = each.value.metric
  statistic           = startswith(each.value.statistic, "p") ? null : each.value.statistic
  extended_statistic  = startswith(each.value.statistic, "p") ? each.value.statistic : null
  comparison_operator = each.value.comparison
  threshold           = each.value.threshold
  period              = 60
  evaluation_periods  = each.value.periods
  treat_missing_data  = each.value.missing
  dimensions          = each.value.dimensions
  alarm_actions       = var.alarm_topic_arns
  ok_actions          = var.alarm_topic_arns
  tags                = var.tags
}

resource "aws_cloudwatch_log_metric_filter" "problem" {
  for_each = local.problems

  name           = "${var.name}-${each.key}"
  log_group_name = aws_cloudwatch_log_group.gateway.name
  pattern        = "{ $.problem = \"${each.key}\" }"

  metric_transformation {
    namespace     = "Blindgate/${var.name}"
    name          = each.key
    value         = "1"
    default_value = "0"
  }
}

resource "aws_cloudwatch_metric_alarm" "problem" {
  for_each = local.problems

  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = each.value.description
  namespace           = "Blindgate/${var.name}"
  metric_name         = aws_cloudwatch_log_metric_filter.problem[each.key].metric_transformation[0].name
  statistic           = "Sum"
  comparison_operator = "GreaterThanThreshold"
  threshold           = each.value.threshold
  period              = 300
  evaluation_periods  = 1
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alarm_topic_arns
  ok_actions          = var.alarm_topic_arns
  tags                = var.tags
}

# Administrators cannot open images, but can replace the policy that says so: every change is told.
resource "aws_cloudwatch_event_rule" "key" {
  name        = "${var.name}-key-changed"
  description = "Somebody changed who may use Blindgate's key, or tried to"
  tags        = var.tags
  event_pattern = jsonencode({
    source      = ["aws.kms"]
    detail-type = ["AWS API Call via CloudTrail"]
    detail = {
      eventName = ["PutKeyPolicy", "CreateGrant", "ScheduleKeyDeletion", "DisableKey", "ReplicateKey"]
      resources = { ARN = [var.key_arn] }
    }
  })
}

resource "aws_cloudwatch_event_target" "key" {
  for_each = toset(var.alarm_topic_arns)

  rule = aws_cloudwatch_event_rule.key.name
  arn  = each.value
}

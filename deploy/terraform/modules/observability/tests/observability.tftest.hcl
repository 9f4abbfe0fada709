mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "111122223333" }
  }
}

variables {
  log_bucket_name          = "blindgate-logs-111122223333-us-east-1"
  load_balancer_arn_suffix = "app/blindgate/1"
  target_group_arn_suffix  = "targetgroup/blindgate/1"
  key_arn                  = "arn:aws:kms:us-east-1:111122223333:key/1"
  alarm_topic_arns         = ["arn:aws:sns:us-east-1:111122223333:alarms"]
}

run "every_alarm_tells_somebody_and_says_what_is_wrong" {
  command = plan

  assert {
    condition = alltrue([
      for alarm in concat(values(aws_cloudwatch_metric_alarm.balancer), values(aws_cloudwatch_metric_alarm.problem)) :
      length(alarm.alarm_actions) == 1 && length(alarm.alarm_description) > 20
    ])
    error_message = "An alarm is silent."
  }
}

run "silence_of_the_health_checks_is_an_alarm_too" {
  command = plan

  assert {
    condition     = aws_cloudwatch_metric_alarm.balancer["nobody-answers"].treat_missing_data == "breaching"
    error_message = "A load balancer without instances would raise no alarm."
  }
}

run "changes_of_the_key_are_told" {
  command = plan

  assert {
    condition     = contains(jsondecode(aws_cloudwatch_event_rule.key.event_pattern).detail.eventName, "PutKeyPolicy") && length(aws_cloudwatch_event_target.key) == 1
    error_message = "Nobody would hear of another key policy."
  }
}

run "logs_are_kept_for_a_time_that_exists" {
  command = plan

  variables {
    log_days = 2
  }

  expect_failures = [var.log_days]
}

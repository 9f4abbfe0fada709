output "log_group" {
  description = "Log group of the gateways."
  value       = aws_cloudwatch_log_group.gateway.name
}

output "log_group_arn" {
  description = "ARN of the same log group."
  value       = aws_cloudwatch_log_group.gateway.arn
}

output "log_bucket" {
  description = "Bucket of access logs. It is known only once S3 lets the load balancer write there."
  value       = aws_s3_bucket.logs.id

  depends_on = [aws_s3_bucket_policy.logs]
}

output "alarms" {
  description = "Names of all alarms."
  value = sort(concat(
    [for alarm in aws_cloudwatch_metric_alarm.balancer : alarm.alarm_name],
    [for alarm in aws_cloudwatch_metric_alarm.problem : alarm.alarm_name],
  ))
}

# Clients → 443 → load balancer → 8080 → gateways. Nothing else is open.

resource "aws_security_group" "load_balancer" {
  name_prefix = "${var.name}-lb-"
  description = "Clients of Blindgate"
  vpc_id      = var.vpc_id
  tags        = merge(var.tags, { Name = "${var.name}-lb" })

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_vpc_security_group_ingress_rule" "clients" {
  for_each = toset(var.client_cidrs)

  security_group_id = aws_security_group.load_balancer.id
  description       = "HTTPS of clients"
  cidr_ipv4         = each.value
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

resource "aws_vpc_security_group_egress_rule" "gateways" {
  security_group_id            = aws_security_group.load_balancer.id
  description                  = "To the gateways"
  referenced_security_group_id = aws_security_group.instance.id
  ip_protocol                  = "tcp"
  from_port                    = 8080
  to_port                      = 8080
}

resource "aws_security_group" "instance" {
  name_prefix = "${var.name}-instance-"
  description = "Parent instances of Blindgate"
  vpc_id      = var.vpc_id
  tags        = merge(var.tags, { Name = "${var.name}-instance" })

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_vpc_security_group_ingress_rule" "load_balancer" {
  security_group_id            = aws_security_group.instance.id
  description                  = "From the load balancer"
  referenced_security_group_id = aws_security_group.load_balancer.id
  ip_protocol                  = "tcp"
  from_port                    = 8080
  to_port                      = 8080
}

resource "aws_vpc_security_group_egress_rule" "endpoints" {
  security_group_id            = aws_security_group.instance.id
  description                  = "To AWS endpoints in the VPC"
  referenced_security_group_id = var.endpoint_security_group_id
  ip_protocol                  = "tcp"
  from_port                    = 443
  to_port                      = 443
}

resource "aws_vpc_security_group_egress_rule" "s3" {
  security_group_id = aws_security_group.instance.id
  description       = "To S3 through its gateway endpoint"
  prefix_list_id    = var.s3_prefix_list_id
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
}

resource "aws_vpc_security_group_ingress_rule" "endpoints" {
  security_group_id            = var.endpoint_security_group_id
  description                  = "From Blindgate's instances"
  referenced_security_group_id = aws_security_group.instance.id
  ip_protocol                  = "tcp"
  from_port                    = 443
  to_port                      = 443
}

resource "aws_lb" "this" {
  #checkov:skip=CKV2_AWS_20:There is no port 80 to redirect from; an API whose client began in the clear has already leaked.
  #checkov:skip=CKV2_AWS_28:A web application firewall reads bodies, and these are ciphertext. The gateway limits sizes, rates and waiting itself.
  name                       = var.name
  internal                   = var.internal
  load_balancer_type         = "application"
  security_groups            = [aws_security_group.load_balancer.id]
  subnets                    = var.public_subnet_ids
  drop_invalid_header_fields = true
  desync_mitigation_mode     = "strictest"
  # The gateway takes the last address, which is the load balancer's word.
  xff_header_processing_mode = "append"
  enable_deletion_protection = var.deletion_protection
  # Above the gateway's longest deadline (120 s), so that it and not the balancer says what is late.
  idle_timeout = 130
  tags         = var.tags

  access_logs {
    bucket  = var.log_bucket
    prefix  = "lb"
    enabled = true
  }
}

resource "aws_lb_target_group" "gateway" {
  #checkov:skip=CKV_AWS_378:Plain HTTP inside the VPC's private subnets, to a gateway that is not trusted anyway: images and sealed answers are encrypted to the enclave, whatever carries them.
  name_prefix                   = "blind-"
  vpc_id                        = var.vpc_id
  protocol                      = "HTTP"
  port                          = 8080
  target_type                   = "instance"
  load_balancing_algorithm_type = "least_outstanding_requests"
  # As long as the gateway itself takes to finish what it has.
  deregistration_delay = 60
  tags                 = var.tags

  # Each enclave has a key of its own: a client that has verified one stays with its instance.
  stickiness {
    type            = "lb_cookie"
    cookie_duration = 3600
  }

  health_check {
    path                = "/readyz"
    matcher             = "200"
    interval            = 10
    timeout             = 5
    healthy_threshold   = 2
    unhealthy_threshold = 3
  }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_lb_listener" "https" {
  load_balancer_arn = aws_lb.this.arn
  protocol          = "HTTPS"
  port              = 443
  ssl_policy        = "ELBSecurityPolicy-TLS13-1-2-2021-06"
  certificate_arn   = var.certificate_arn
  tags              = var.tags

  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.gateway.arn
  }
}

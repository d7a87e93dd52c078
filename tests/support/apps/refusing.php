<?php // Answers a request without looking at its body; the path is the status: `php -S 127.0.0.1:PORT refusing.php`.
http_response_code((int) substr($_SERVER["REQUEST_URI"], 1) ?: 200);
echo "ok";

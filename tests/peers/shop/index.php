<?php // The shop of the page in PHP: quick answers, slow ones, and uploads that it takes whole.
$taken = strlen(file_get_contents("php://input"));
sleep(["/slow" => 1, "/long" => 4][$_SERVER["REQUEST_URI"]] ?? 0);
header("Content-Type: text/plain");
echo getenv("BG_VERSION"), " took ", $taken, " of ", (int) ($_SERVER["CONTENT_LENGTH"] ?? 0);
